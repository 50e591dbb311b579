"""Bar files of any known layout, read rightly or not at all."""

from resources.bar_files.layouts import load_formats
from resources.bar_files.reading import BarFile, Series, read_bar_file

__all__ = ["BarFile", "Series", "load_formats", "read_bar_file"]
