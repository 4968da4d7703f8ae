"""What each band measures, the catalogue of sensors, and which given band serves a wanted one."""
