"""Alembic's migrations of the review page's database."""
