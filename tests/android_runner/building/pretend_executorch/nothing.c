/* An archive needs a member. */
int pretend_cpuinfo_nothing = 0;
