"""Benchmarks, one table each: python -m tests.benchmarks [NAME …]; never part of a test run."""

import sys
from importlib import import_module

BENCHMARKS = (
    "blocklists",
    "dns",
    "isolation",
    "leads",
    "onboarding",
    "many_tenants",
    "queue",
    "rollup",
    "row_security",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        import_module(f"tests.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
