"""The compose file for an app's image: PostgreSQL, a process that serves, a process that executes runs."""

import json
import secrets

from threadloom.cli.image.dockerfile import HEADER, PORT

DATABASE = "postgresql://threadloom:${POSTGRES_PASSWORD}@postgres:5432/threadloom"


def compose(*, context: str, dockerfile: str, env_file: str | None) -> str:
    """Returns the compose file.

    Args:
        context: the folder that the image is built from, relative to the compose file.
        dockerfile: the Dockerfile, relative to the context.
        env_file: the app's own file of variables, relative to the compose file.
    """
    files = dict.fromkeys([".env", env_file or ".env"])
    given = "".join(f"\n      - {json.dumps(file)}" for file in files)
    return f"""{HEADER}
# Start it with:     docker compose up --build --detach
# More of a kind:    docker compose up --detach --scale worker=3
services:
  postgres:
    image: pgvector/pgvector:pg16
    environment:
      POSTGRES_USER: threadloom
      POSTGRES_PASSWORD: ${{POSTGRES_PASSWORD:?set it in .env}}
    volumes:
      - postgres:/var/lib/postgresql/data
    healthcheck:
      test: ["CMD", "pg_isready", "--username", "threadloom"]
      interval: 5s
      timeout: 5s
      retries: 20
    restart: unless-stopped

  api: &app
    build:
      context: {json.dumps(context)}
      dockerfile: {json.dumps(dockerfile)}
    command: ["threadloom", "serve", "--role", "api"]
    environment:
      DATABASE_URI: {DATABASE}
      PORT: "{PORT}"
    env_file:{given}
    ports:
      - "${{API_PORT:-8123}}:{PORT}"
    depends_on:
      postgres:
        condition: service_healthy
    stop_grace_period: 4m
    restart: unless-stopped

  worker:
    <<: *app
    command: ["threadloom", "serve", "--role", "worker"]
    ports: []

volumes:
  postgres: {{}}
"""


def env_text() -> str:
    """Returns a `.env` file with a new random password."""
    return (
        f"{HEADER} Variables of docker-compose.yml and of the app; keep it out of version control.\n"
        f"POSTGRES_PASSWORD={secrets.token_hex(24)}\n"
    )
