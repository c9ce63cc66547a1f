"""The images of the docker sandbox: made once, made again when their recipe changes, holding what they promise."""

import subprocess
import tempfile
import threading

import pytest

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Program
from rewardkit_sandbox import docker_images, docker_rootfs
from rewardkit_sandbox.docker import DockerSandbox
from rewardkit_sandbox.docker_images import build_image, find_image

pytestmark = pytest.mark.docker
OTHERS = "rewardkit-sandbox:python"  # what other tests use: something to build on, not to be built anew here


@pytest.fixture
def own_names(docker_daemon, monkeypatch):
    """Build under names that nobody else uses; yields what was said of every build."""
    build_image(docker_daemon)
    monkeypatch.setattr(docker_images, "REPOSITORY", "rewardkit-test-images")
    before = nameless(docker_daemon)
    said = []
    yield said
    for name in ("python", "full"):
        if found := docker_images._inspect(docker_daemon, f"rewardkit-test-images:{name}"):
            docker_daemon.call(lambda client, found=found: client.remove_image(found["Id"], force=True))
    for left in nameless(docker_daemon) - before:
        try:
            docker_daemon.call(lambda client, left=left: client.remove_image(left, force=True))
        except SandboxError:
            pass  # it went with another


def nameless(daemon):
    return {image["Id"] for image in daemon.call(lambda client: client.images(filters={"dangling": True}))}


def test_an_image_is_built_once_and_again_when_its_recipe_or_base_changes(docker_daemon, own_names, monkeypatch):
    def build(**options):
        return build_image(docker_daemon, "python", say=own_names.append, **options).id

    first = build(base=OTHERS)
    assert "building the image rewardkit-test-images:python" in own_names[0]
    own_names.clear()
    assert build() == build(base=OTHERS) == first
    assert own_names == []
    assert build(base=OTHERS, fresh=True) != first
    monkeypatch.setattr(docker_rootfs, "PACKAGES", {"python": ("python3", "other")})
    second = build(base=OTHERS)
    assert second != first
    docker_daemon.call(lambda client: client.tag(OTHERS, "rewardkit-test-images", "base"))
    try:
        assert build(base="rewardkit-test-images:base") != second
    finally:
        docker_daemon.call(lambda client: client.remove_image("rewardkit-test-images:base"))


def test_a_base_without_python_is_refused_with_what_went_wrong(docker_daemon, own_names, tmp_path):
    (tmp_path / "empty").touch()
    with subprocess.Popen(["tar", "-C", tmp_path, "-c", "."], stdout=subprocess.PIPE) as tar:
        docker_daemon.call(
            lambda client: client.import_image_from_stream(tar.stdout, repository="rewardkit-test-images:none")
        )
    try:
        with pytest.raises(SandboxUnavailableError, match=r"python cannot be built on 'rewardkit-test-images:none'"):
            build_image(docker_daemon, "python", base="rewardkit-test-images:none")
    finally:
        docker_daemon.call(lambda client: client.remove_image("rewardkit-test-images:none"))


def test_who_waits_for_another_builder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    waits = threading.Event()

    def build():
        with docker_images._only_one(waits.set):
            pass

    with docker_images._only_one(lambda: pytest.fail("nobody else builds")):
        other = threading.Thread(target=build)
        other.start()
        assert waits.wait(10)
        assert other.is_alive()
    other.join(10)
    assert not other.is_alive()


def test_an_unknown_image_of_ours_is_refused(docker_daemon):
    with pytest.raises(ConfigError, match=r"'pyhton'.*python, full"):
        build_image(docker_daemon, "pyhton")


def test_the_image_of_python_is_built_when_nobody_has_built_it(docker_daemon, own_names, monkeypatch):
    monkeypatch.setattr(docker_images, "_base", lambda *_: OTHERS)
    assert docker_images._inspect(docker_daemon, "rewardkit-test-images:python") is None
    image = find_image(docker_daemon, None)
    assert docker_images._inspect(docker_daemon, "rewardkit-test-images:python")["Id"] == image.id


def test_the_command_says_what_it_built():
    from click.testing import CliRunner

    from rewardkit_sandbox.commands_build import build

    done = CliRunner().invoke(build, ["--image", "python"])
    assert done.exit_code == 0
    assert done.stdout.startswith("rewardkit-sandbox:python sha256:")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["packages", "host"])
def test_an_image_is_made_without_a_registry(docker_daemon, own_names, monkeypatch, way):
    monkeypatch.setattr(docker_images, "_pulled", lambda *_: False)
    monkeypatch.setattr(docker_images, "UPSTREAM", "rewardkit-test-images:none")
    if way == "packages" and not docker_rootfs.has_packages():
        pytest.skip("there is no apt-get here")
    monkeypatch.setattr(docker_rootfs, "has_packages", lambda: way == "packages")
    image = build_image(docker_daemon, "python", say=own_names.append)
    assert image.size < 150e6
    with DockerSandbox(workers=1, image=image.id) as sandbox:
        ended = sandbox.run(Program(code="import bz2, ctypes, lzma, sqlite3, ssl, zlib; print(ssl.OPENSSL_VERSION)"))
        assert ended.stdout.startswith(b"OpenSSL"), ended.stderr
        assert sandbox.run(Program(argv=("sh", "-c", "echo $0"))).stdout == b"sh\n"


LANGUAGES = {
    "bash": "a=(6 7); echo $((a[0] * a[1])); exit 3",
    "javascript": "console.log([6, 7].reduce((x, y) => x * y)); process.exit(3)",
    "c": '#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); return 3; }',
    "cpp": "#include <iostream>\nint main() { std::cout << 6 * 7 << std::endl; return 3; }",
    "python": "print(6 * 7); raise SystemExit(3)",
}


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_full_image_runs_its_languages(docker_daemon, language):
    with DockerSandbox(workers=1, image="rewardkit-sandbox:full") as sandbox:
        ended = sandbox.run(Program(code=LANGUAGES[language], language=language))
    assert (ended.stdout, ended.exit_code) == (b"42\n", 3), ended.stderr
