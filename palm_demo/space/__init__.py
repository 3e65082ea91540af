"""`python -m palm_demo.space {render,check,deploy}`: the Hugging Face Space that the Spacefile describes."""
