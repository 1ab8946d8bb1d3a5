# Reads what `cargo test` prints, and prints what is to be known of it, one fact a line:
#   passed COUNT, skipped COUNT   of all test programs together
#   failed NAME                   a test, once for each program in which it failed
#   broken PROGRAM                a test program that did not come to its end

function close_program() {
  if (program == "") return
  if (result == "") print "broken " program
  else {
    split(result, word, " ")
    passed += word[4]
    skipped += word[8]
  }
}

/^ +(Running|Doc-tests) / {
  close_program()
  program = $0
  sub(/^ +(Running|Doc-tests) /, "", program)
  result = ""
  in_failures = 0
}

# what failed tests have printed comes after this line and can look like anything
/^failures:$/ { in_failures = 1 }

/^test .* \.\.\. FAILED$/ && !in_failures {
  name = $0
  sub(/^test /, "", name)
  sub(/ \.\.\. FAILED$/, "", name)
  sub(/ - should panic$/, "", name)
  print "failed " name
}

# the last one is the program's own
/^test result: / { result = $0 }

END {
  close_program()
  print "passed " passed + 0
  print "skipped " skipped + 0
}
