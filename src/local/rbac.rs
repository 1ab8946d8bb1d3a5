//! Role based access control evaluated from role and binding objects.
