"""What every other package stands on: errors, files, text, progress; no word of the domain."""
