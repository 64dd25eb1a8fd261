"""`polytrace view`: a local page that looks through a whole corpus."""
