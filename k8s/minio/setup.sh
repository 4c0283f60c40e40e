#!/bin/sh
# Buckets, versioning, encryption, lifecycle, and one user per bucket with no more rights than it needs. Every command
# may run again. The image has no grep, sed or curl: only the shell and mc.
set -eu

export MC_HOST_store="$MINIO_SCHEME://$ROOT_USER:$ROOT_PASSWORD@$MINIO_ENDPOINT"

until mc ready store >/dev/null 2>&1; do
  echo "waiting for $MINIO_ENDPOINT"
  sleep 2
done

bucket() {  # name, user's access key, user's secret key, policy
  mc mb --ignore-existing "store/$1"
  mc encrypt set sse-s3 "store/$1"
  mc admin policy create store "$4" "/setup/policy-$4.json"
  mc admin user add store "$2" "$3" >/dev/null
  mc admin policy attach store "$4" --user "$2"
}

bucket comface "$COMFACE_ACCESS_KEY" "$COMFACE_SECRET_KEY" comface
bucket mlpipeline "$KFP_ACCESS_KEY" "$KFP_SECRET_KEY" kfp
mc version enable store/comface
mc ilm rule import store/comface </setup/lifecycle.json
echo "store is set up"
