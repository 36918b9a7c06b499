"""The HTTP layer: routes parse and shape, services decide. `app.create_app` puts it together."""
