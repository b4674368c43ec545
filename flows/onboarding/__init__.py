"""The steps of onboard_tenant, by the subject they make true."""
