DROP INDEX domain_ip_assignments_one_active;
DROP TABLE address_screenings;
