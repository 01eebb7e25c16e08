"""Item vectors in a table of PostgreSQL with pgvector."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from h2rec.retrieval.destinations.protocol import Destination, Found, Held, VectorTable, library, split

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable

_OURS = "item vectors, exported by h2rec"
"""Comment on a table of ours."""
_WIDEST_INDEX = 2000
"""Numbers of a vector that pgvector's index takes."""
_TYPES = {"item_index": "int8", "head": "bool", "train_count": "int8"}


class PostgreSQL(Destination):
    """``postgresql://USER@HOST/DATABASE/TABLE``, with what else libpq takes; passwords as libpq finds them.

    One transaction: a table that is replaced is read until the new one is there, with its index for inner products.
    """

    def __init__(self, connection: "Connection[Any]", name: str) -> None:
        self.connection = connection
        self.name = name

    @classmethod
    def open(cls, address: str) -> Self:
        library("pgvector", "postgresql")  # what vectors are written with
        psycopg = library("psycopg", "postgresql")
        parts, database, name = split(address)
        return cls(psycopg.connect(parts._replace(path=database).geturl()), name)

    def close(self) -> None:
        self.connection.close()

    def held(self) -> Held:
        asked = "SELECT to_regclass(%s) IS NULL, obj_description(to_regclass(%s), 'pg_class')"
        with self.connection.transaction():
            row = self.connection.execute(asked, [self._table().as_string(self.connection)] * 2).fetchone()
        assert row is not None
        return "nothing" if row[0] else "ours" if row[1] == _OURS else "others"

    def write(self, table: VectorTable) -> None:
        from psycopg.sql import SQL, Identifier

        types = {name: _TYPES.get(name, "text") for name in table.schema} | {"vector": "vector"}
        # Renamed at the end: what is there can be read until then.
        fresh, name = self._table("_new"), self._table()
        columns = [SQL("{} {}").format(Identifier(column), SQL(kind)) for column, kind in types.items()]
        columns[0] += SQL(" PRIMARY KEY")
        columns[-1] += SQL(f"({table.shape[1]})")
        with self.connection.transaction():
            self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            self._learn_vectors()
            self.connection.execute(SQL("CREATE TABLE {} ({})").format(fresh, SQL(", ").join(columns)))
            copied = SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(fresh)
            with self.connection.cursor() as cursor, cursor.copy(copied) as copy:
                copy.set_types(list(types.values()))
                for rows in table.batches:
                    for row, vector in zip(
                        rows.drop("vector").iter_rows(), rows["vector"].to_numpy(), strict=True
                    ):
                        copy.write_row((*row, vector))
            if table.shape[1] <= _WIDEST_INDEX:
                index = SQL("CREATE INDEX ON {} USING hnsw (vector vector_ip_ops)")
                self.connection.execute(index.format(fresh))
            self.connection.execute(SQL("DROP TABLE IF EXISTS {}").format(name))
            renamed = SQL("ALTER TABLE {} RENAME TO {}").format(fresh, Identifier(self.name.split(".")[-1]))
            self.connection.execute(renamed)
            self.connection.execute(SQL("COMMENT ON TABLE {} IS {}").format(name, _OURS))

    def search(self, users: npt.NDArray[np.float32], k: int) -> list[Found]:
        from psycopg.sql import SQL

        query = SQL("SELECT item_id, -(vector <#> %s) FROM {} ORDER BY vector <#> %s LIMIT %s").format(
            self._table()
        )
        with self.connection.transaction():
            self._learn_vectors()
            # A graph gives no more items than it looks at.
            self.connection.execute(SQL("SET LOCAL hnsw.ef_search = {}").format(min(1000, max(100, 2 * k))))
            return [self.connection.execute(query, (user, user, k)).fetchall() for user in users]

    def _learn_vectors(self) -> None:
        from pgvector.psycopg import register_vector

        register_vector(self.connection)

    def _table(self, more: str = "") -> "Composable":
        from psycopg.sql import Identifier

        *schema, name = self.name.split(".")
        return Identifier(*schema, name + more)
