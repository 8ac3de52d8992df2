"""Environment of the migrations. Alembic runs it with the connection that `Database.migrate` opened."""

from alembic import context

from cachewright.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
