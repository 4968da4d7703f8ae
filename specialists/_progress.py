from rasters.progress import show_progress

__all__ = ["show_progress"]
