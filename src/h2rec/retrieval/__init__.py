"""The item index, the recommender and the bundle that carries both."""
