require ["fileinto", "mailbox"];
# A receiver that does not reject what fails DMARC puts it where few people look.
if header :contains "Authentication-Results" "dmarc=fail" { fileinto :create "Junk"; stop; }
