"""Where settings come from: what of it is no JSON is named as whoever set it knows it, and its value is not shown."""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, NestedSecretsSettingsSource
from pydantic_settings.exceptions import SettingsError


class NotJson(ValueError):
    """A list or map that cannot be read."""


class Named(EnvSettingsSource):
    """The library's own words name the group alone, and their cause holds the value."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The value of a list or map."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            names = (name for name, given in self.env_vars.items() if given == value and name.endswith(field_name))
            raise NotJson(
                f"{next(names, field_name).upper()} is no JSON (its value is not shown):"
                ' lists are written as ["…"], maps as {"…": "…"}'
            ) from None

    def __call__(self) -> dict[str, Any]:
        """All that this source gives."""
        try:
            return super().__call__()
        except SettingsError as error:
            if isinstance(error.__cause__, NotJson):
                raise error.__cause__ from None
            raise


class Environment(Named):
    """Environment variables."""


class SecretFiles(Named, NestedSecretsSettingsSource):
    """Files named as the variables are."""
