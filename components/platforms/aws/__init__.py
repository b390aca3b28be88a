"""Amazon Web Services: EKS, managed node groups or Karpenter, ECR, S3, an Application Load Balancer.

Nothing is imported here: the settings must load where Amazon's SDK is not installed.
"""
