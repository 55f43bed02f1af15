-- Delete a dead letter.   KEYS: dead letter bytes   ARGV: id   Replies 1, or 0 if it is gone.
-- with: letter_bytes

return forget_letter(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
