"""Asks a model server with OpenVINO's client for TensorFlow Serving. Arguments: http or grpc, and the address.

Prints one JSON line each: predictions of the regression and of the classifier, the status, an unknown model's error.
"""

import json
import sys

import numpy as np
import ovmsclient


def main() -> None:
    kind, address = sys.argv[1:]
    make = {"http": ovmsclient.make_http_client, "grpc": ovmsclient.make_grpc_client}[kind]
    client = make(address)
    print(json.dumps(client.predict({"x": np.array([[0.0, 1, -1, 2]])}, "linear_regression").tolist()))
    sums = {"inputs_1": np.array([range(10), [5] * 10], np.float32)}
    print(json.dumps(client.predict(sums, "classifier").tolist()))
    assert list(client.get_model_metadata("classifier"))
    status = client.get_model_status("linear_regression")
    print(json.dumps({str(version): entry["state"] for version, entry in status.items()}))
    try:
        client.predict(sums, "nothing")
    except ovmsclient.ModelNotFoundError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
