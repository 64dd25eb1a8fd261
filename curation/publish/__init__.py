"""Publishing a release: to the Hugging Face Hub, or to a folder behind a URL."""
