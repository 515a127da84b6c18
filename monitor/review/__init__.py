"""The review page: a database of alerts, what reviewers say about them, and the web pages for both."""
