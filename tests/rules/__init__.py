"""Laws about the policies that ship with this project, and the cases beside them."""
