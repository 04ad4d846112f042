"""The command line: a verb parses, calls one function of the API, prints. One file for each verb."""
