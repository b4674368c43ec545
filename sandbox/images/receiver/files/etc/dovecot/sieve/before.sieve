require ["fileinto", "mailbox"];
# The receiver's policy server marks what a rule sends to Junk.
if header :is "X-Sandbox-Folder" "Junk" { fileinto :create "Junk"; stop; }
