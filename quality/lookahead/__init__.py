"""The proof that a strategy does not look ahead: laws that are run, and the certificate they give."""
