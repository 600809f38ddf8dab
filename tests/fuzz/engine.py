"""One target under atheris, in a process of its own: libFuzzer owns it and ends it. Started by run; arguments are libFuzzer's.

What is imported here under instrumentation is what coverage is counted in: ours, not the libraries and not the harness.
"""

import sys

import atheris

PRODUCT = ["smtpfleet"]


def main() -> None:
    """`engine.py TARGET [libFuzzer's arguments …]`."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=PRODUCT, enable_loader_override=False):
        from tests.fuzz.mutation import mutate
        from tests.fuzz.targets import load_target

        target = load_target(name)

    def mutator(data: bytes, limit_bytes: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, limit_bytes))
        return mutate(data, target.words, limit_bytes, seed)

    atheris.Setup([sys.argv[0], *arguments], target.check, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
