"""One self-contained page that shows what was measured."""

from evaluation.report.page import write_report

__all__ = ["write_report"]
