"""Holds each document of a YAML stream against the schema of its kind, strictly: validate.py VERSION ... < rendered.yaml"""

import sys

import kubernetes_validate
import yaml

documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
for version in sys.argv[1:]:
    for document in documents:
        # Of the Prometheus operator, which brings its own.
        if document["kind"] == "ServiceMonitor":
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            print(f"{version} {document['kind']}: {error}")
            sys.exit(1)
print(len(documents))
