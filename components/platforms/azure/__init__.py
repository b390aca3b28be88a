"""Azure: AKS with User agent pools that start at zero, ACR, Blob storage, Key Vault. Importing this imports no SDK."""
