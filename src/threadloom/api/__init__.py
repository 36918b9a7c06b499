"""The HTTP layer. Routes parse requests and build responses; the services decide. `app.create_app` assembles the app."""
