"""The kinds of value only AWS has, each with its own refusal."""

from __future__ import annotations

from typing import Annotated

from components.typed.fields import text, whole

_CIDR = r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}"

Region = Annotated[
    str,
    text(
        130,
        r"[a-z]{2}(-[a-z]+)+-[0-9]",
        "is not the name of an AWS region",
        allowed="a region's code, like eu-west-1",
        fix="copy it from: aws ec2 describe-regions",
    ),
]
Account = Annotated[
    str,
    text(
        131,
        r"[0-9]{12}",
        "is not the number of an AWS account",
        allowed="12 digits in quotes",
        fix="copy it from: aws sts get-caller-identity --query Account",
    ),
]
Zone = Annotated[
    str,
    text(
        132,
        r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]",
        "is not the name of an availability zone",
        allowed="a region and a letter, like eu-west-1a",
        fix="copy it from: aws ec2 describe-availability-zones",
    ),
]
Cidr = Annotated[
    str,
    text(
        139,
        _CIDR,
        "is not a network",
        allowed="IPv4 in CIDR notation, like 10.0.0.0/8",
        fix="write address/prefix length",
    ),
]
Minor = Annotated[
    str,
    text(
        143,
        r"1\.[0-9]{2}",
        "is not a minor version of Kubernetes",
        allowed='major.minor in quotes, like "1.35"',
        fix="leave the patch out: Amazon chooses it",
    ),
]
MachineType = Annotated[
    str,
    text(
        3,
        r"[a-z][a-z0-9-]*\.[a-z0-9-]+",
        "is not an instance type",
        allowed="family.size, like m7i.large",
        fix="copy it from: aws ec2 describe-instance-types",
    ),
]
ClusterName = Annotated[
    str,
    text(
        131,
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}",
        "is not the name of an EKS cluster",
        allowed="at most 100 letters, digits, - and _",
        fix="copy it from: aws eks list-clusters",
    ),
]
VpcId = Annotated[
    str,
    text(
        131,
        r"vpc-[0-9a-f]{8,17}",
        "is not the id of a VPC",
        allowed="vpc- and hexadecimal digits",
        fix="copy it from: aws ec2 describe-vpcs",
    ),
]
SubnetId = Annotated[
    str,
    text(
        131,
        r"subnet-[0-9a-f]{8,17}",
        "is not the id of a subnet",
        allowed="subnet- and hexadecimal digits",
        fix="copy it from: aws ec2 describe-subnets",
    ),
]
Principal = Annotated[
    str,
    text(
        131,
        r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\w+=,.@/-]+",
        "is not the ARN of an IAM role or user",
        allowed="arn:aws:iam::ACCOUNT:role/NAME",
        fix="copy it from: aws iam list-roles",
    ),
]
Certificate = Annotated[
    str,
    text(
        40,
        r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]{36}",
        "is not the ARN of a certificate in ACM",
        allowed="arn:aws:acm:REGION:ACCOUNT:certificate/ID",
        fix="copy it from: aws acm list-certificates",
    ),
]
Host = Annotated[
    str,
    text(
        40,
        r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
        "is not a host name",
        allowed="a full name in lower case, without scheme, port or path",
        fix="write it like llm.example.com",
    ),
]
AmiRelease = Annotated[
    str,
    text(
        134,
        r"v[0-9]{8}|v?[0-9]+\.[0-9]+\.[0-9]+",
        "is not a release of a node image",
        allowed="v and a date for Amazon Linux (v20260820), v and a version for Bottlerocket (v1.48.0)",
        fix="docs/clouds/aws.md says how to list the releases of a region; latest would replace running nodes",
    ),
]
Nodes = Annotated[int, whole(111, 1, 100, fix="2 to 4 nodes are enough for most stacks")]
