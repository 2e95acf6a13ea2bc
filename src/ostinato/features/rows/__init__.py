"""Rows from the files that people have: CSV, TSV, JSON lines, Parquet, a label before each line, folders by label."""

from ostinato.features.rows.columns import Columns, choose_columns
from ostinato.features.rows.lines import read_lines
from ostinato.features.rows.table import FORMATS, Row, Table, open_table

__all__ = ["FORMATS", "Columns", "Row", "Table", "choose_columns", "open_table", "read_lines"]
