"""leads import: a file in, what was refused out, and nothing of it for another tenant."""

from pathlib import Path

from typer.testing import CliRunner

from flows.__main__ import app
from tests.support.backups import Installation


def flows(*words: str):
    return CliRunner().invoke(app, list(words))


def test_a_file_is_taken_in_and_its_rubbish_listed(installation: Installation, tmp_path: Path) -> None:
    ((tenant,),) = installation.rows("SELECT tenant_id FROM tenants WHERE name = 'acme'")
    file, refused = tmp_path / "leads.csv", tmp_path / "refused.csv"
    file.write_bytes(b"email,company\nada@beta.example,Engines\nrubbish,x\nb\xe4d@beta.example,x\n1@acme.example,x\n")
    said = flows("leads", "import", str(file), "--tenant", str(tenant), "--rejects", str(refused))
    assert said.exit_code == 0, said.output
    assert "4 lines: 1 added, 1 known, 0 suppressed, 2 refused" in said.output
    assert "refused 1: no address" in said.output
    assert refused.read_text().splitlines()[:2] == ["line,reason,text", '3,no address,"rubbish,x"']
    assert installation.rows("SELECT count(*) FROM leads WHERE tenant_id = 2") == [(20,)]


def test_what_cannot_be_taken_in_is_one_sentence(installation: Installation, tmp_path: Path) -> None:
    ((tenant,),) = installation.rows("SELECT tenant_id FROM tenants WHERE name = 'acme'")
    file = tmp_path / "leads.csv"
    file.write_text("name,company\nx,y\n")
    for words, code in (
        ([str(file), "--tenant", str(tenant)], 5),
        ([str(file), "--tenant", "00000000-0000-0000-0000-000000000001"], 5),
        ([str(tmp_path / "none.csv"), "--tenant", str(tenant)], 2),
    ):
        said = flows("leads", "import", *words)
        assert said.exit_code == code, said.output
        assert len(said.stderr.strip().splitlines()) == 1
