#!/bin/sh
# Creates the secrets of secrets.template.yaml in NAMESPACE, with random values that are written to no file and no
# log. A secret that exists stays as it is. ENDPOINT: where the steps find the store (default: MinIO in NAMESPACE).
set -eu

namespace=${1:?usage: sh k8s/secrets.sh NAMESPACE [ENDPOINT]}
endpoint=${2:-http://minio.$namespace.svc:9000}
template=$(dirname "$0")/secrets.template.yaml

filled() {  # every placeholder its own random value
  while IFS= read -r line; do
    case $line in
      *@RANDOM10@*) line="${line%@RANDOM10@*}$(openssl rand -hex 10)${line##*@RANDOM10@}" ;;
      *@RANDOM20@*) line="${line%@RANDOM20@*}$(openssl rand -hex 20)${line##*@RANDOM20@}" ;;
      *@KEY32@*) line="${line%@KEY32@*}$(openssl rand -base64 32)${line##*@KEY32@}" ;;
      *@ENDPOINT@*) line="${line%@ENDPOINT@*}$endpoint${line##*@ENDPOINT@}" ;;
    esac
    printf '%s\n' "$line"
  done <"$template"
}

# `create`, not `apply`: apply would write the values into an annotation, and replace what is there.
said=$(filled | kubectl create --namespace "$namespace" -f - 2>&1) || true
failed=0
while IFS= read -r line; do
  case $line in
    *AlreadyExists*) line=${line#*secrets \"}; echo "secret/${line%%\"*} exists, and is kept" ;;
    secret/*) echo "$line" ;;
    *) echo "$line" >&2; failed=1 ;;
  esac
done <<END
$said
END
exit $failed
