// An archive needs a member.
int pretend_executorch_nothing = 0;
