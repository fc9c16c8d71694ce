-- An insert of some ten thousand rows makes a part of over 10 MB, which would have two files for each
-- column: a hundred to create, where two do. Merges make the larger ones, with columns of their own
-- (docs/adr/0003).
ALTER TABLE requests MODIFY SETTING min_bytes_for_wide_part = 67108864;
