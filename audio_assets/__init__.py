"""A music library as trustworthy, queryable data: Dagster assets over plain numpy code."""
