"""All tests on the newest releases, and which of these break something; `make test-newest` runs this.

The releases that are newer than those of the known set (`dev.txt`) are listed. Where tests fail, each of these is taken
back to the set's release, one after the other, and the failed tests run again: what mends a test had broken it. The
environment ends as it began. Last it says which bounds of `l2sim.fits` stay, and which may go since there is a release
that was not tried when they were set.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from l2sim import fits

CRASHED = ["the run itself"]
"""In place of tests, where pytest ended before it could name some."""
SET = Path(__file__).resolve().parent / "dev.txt"


def newer() -> dict[str, tuple[str, str]]:
    """Package -> (release of the set, release here), where they differ."""
    found = {}
    for line in SET.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                here, pinned = fits.version(requirement.name), str(requirement.specifier).removeprefix("==")
                if here and here != pinned:
                    found[requirement.name] = pinned, here
    return found


def failures(tests: list[str]) -> list[str]:
    """The tests that fail of these (all if none is named)."""
    parallel = ["--numprocesses", "auto", "--dist", "loadfile"] if not tests or len(tests) > 20 else []
    command = [sys.executable, "-m", "pytest", "-rfE", *parallel, *tests]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?::.*?\]|\S+)(?: - |$)", done.stdout, re.MULTILINE)
    return failed if failed or done.returncode == 0 else CRASHED


def install(package: str, release: str) -> bool:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    return subprocess.run([*command, f"{package}=={release}"]).returncode == 0


def main(tests: list[str]) -> int:
    """Print what is newer, what fails, and which release of it is to blame."""
    changed = newer()
    failed = failures(tests)
    culprits: dict[str, list[str]] = {}
    for package, (pinned, here) in changed.items() if failed else ():
        if install(package, pinned):
            still = failures(failed)
            culprits[package] = [test for test in failed if test not in still] if still != CRASHED else []
        install(package, here)
    print(f"{len(changed)} releases are newer than the known set:")
    for package, (pinned, here) in changed.items():
        broken = culprits.get(package, [])
        print(f"    {package} {here} (known: {pinned})" + (f" breaks {len(broken)} tests:" if broken else ""))
        print("".join(f"        {test}\n" for test in broken), end="")
    blamed = {test for tests in culprits.values() for test in tests}
    for test in failed:
        if test not in blamed:
            print(f"    no single release explains {test}")
    for pair in fits.KNOWN:
        tried = fits.version(pair.package)
        again = tried and not SpecifierSet(pair.releases).contains(tried, prereleases=True)
        what = f"    bound: {pair.package} ({tried or 'not installed'}) with {pair.other} {pair.others}"
        print(f"{what}: try without it" if again else f"{what}: stays until {pair.until}")
    print("the newest releases pass" if not failed else f"{len(failed)} tests fail on the newest releases")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
