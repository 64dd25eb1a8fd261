"""Looking at a finished run: searches, rejections, the terminal view, the page."""
