"""What more than one file of this ring asks for."""

from tests.support.backups import installation, s3, s3_running

__all__ = ["installation", "s3", "s3_running"]
