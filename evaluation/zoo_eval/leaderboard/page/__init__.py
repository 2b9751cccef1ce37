"""The leaderboard as a page: one HTML file that opens from disk, with no server and nothing fetched."""

from zoo_eval.leaderboard.page.writing import write_page

__all__ = ["write_page"]
