"""Settings of every trained baseline, for the tests that hold for all models."""

BASELINES = [
    {"name": "sasrec_text"},
    {"name": "llm_esr"},
    {"name": "llm_esr", "llm_esr": {"residual": False, "share_encoder": False}},
    {"name": "sid_sum"},
    {"name": "pg_sid", "pg_sid": {"rows": 500}},
    {"name": "spm_sid", "spm_sid": {"vocabulary": 60}},
    {"name": "hid_sid_add"},
    {"name": "hid_sid_concat"},
    {"name": "two_hid"},
    {"name": "three_hid"},
]
ON_OTHER_BACKBONES = [
    {"name": name, "backbone": backbone}
    for backbone in ("bert4rec", "gru4rec")
    for name in ("sasrec_text", "llm_esr", "spm_sid", "hid_sid_add", "two_hid")
]
