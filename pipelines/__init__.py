"""How and when: jobs, schedules, sensors, the planner, the command line."""
