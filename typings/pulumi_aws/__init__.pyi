"""The services that the program uses, for mypy alone: the SDK's own file has it read every service of the cloud, which
takes minutes and gigabytes. What is in them is the SDK's own, and judged. One more service: one more line.
"""

from . import autoscaling as autoscaling
from . import cloudwatch as cloudwatch
from . import ec2 as ec2
from . import ecr as ecr
from . import eks as eks
from . import iam as iam
from . import kms as kms
from . import s3 as s3
from . import sqs as sqs
from . import vpc as vpc
from .provider import Provider as Provider
