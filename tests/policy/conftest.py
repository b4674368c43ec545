from hypothesis import settings

# No deadline: a loaded machine must not turn a law red. No example database: a run leaves nothing behind.
settings.register_profile("ring", deadline=None, max_examples=60, database=None)
settings.load_profile("ring")
