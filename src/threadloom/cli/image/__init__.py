"""Images of apps: the layout of an app's folders, and the Dockerfile."""
