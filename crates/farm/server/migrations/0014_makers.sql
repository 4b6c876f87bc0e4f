-- Who made an invitation: it opens nothing when he does not administer any more. None: the server itself did.
ALTER TABLE invitations ADD COLUMN maker TEXT;
