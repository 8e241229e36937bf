"""`python -m tests.real_account.recorder WORDS`: the hotdesk command, its answers' forms written down.

The file is $REAL_ACCOUNT_RECORD, a line of JSON for each call to AWS.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

from tests.real_account.forms import shape

RECORD = "REAL_ACCOUNT_RECORD"


def record(client: Any, operation: str, answer: Any, error: Any = None) -> None:
    told = getattr(error, "response", None) or {}
    row = {
        "call": f"{client.meta.service_model.service_name}.{operation}",
        "answer": shape(answer or {}),
        "code": told.get("Error", {}).get("Code", ""),
        "status": told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
    }
    with Path(os.environ[RECORD]).open("a") as file:
        file.write(json.dumps(row) + "\n")


def listen() -> None:
    """From now on, each call of any boto3 client in this process is written down."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    call = BaseClient._make_api_call

    def recorded(client: Any, operation: str, asked: dict[str, Any]) -> Any:
        try:
            answer = call(client, operation, asked)
        except ClientError as error:
            record(client, operation, None, error)
            raise
        record(client, operation, answer)
        return answer

    BaseClient._make_api_call = recorded


if __name__ == "__main__":
    listen()
    runpy.run_module("hotdesk", run_name="__main__")
